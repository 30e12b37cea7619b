"""Reason codes: why a job waits, why it went where it went, why it ended. Stable identifiers with texts in zh and en.

A reason is data (`code` and the numbers behind it); the same codes appear in the API, the CLI, the events and the metrics.
Subsidy tags use codes of their own, which live with the programmes in `scheduler.subsidy`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Language = Literal["en", "zh"]
Numbers = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Reason:
    """One coded reason. `numbers` fill the placeholders of its text. Raises KeyError for a code that is not registered."""

    code: str
    numbers: Numbers = field(default_factory=dict)

    def __post_init__(self) -> None:
        TEXTS[self.code]

    def text(self, language: Language = "en") -> str:
        numbers = self.numbers
        if language == "zh":
            numbers = {key: _in_chinese(value) for key, value in numbers.items()}
        return TEXTS[self.code][language].format_map(numbers)


def _in_chinese(value: str | int) -> str | int:
    """Values are data and mostly language-free; the few words among them are translated here."""
    return value if isinstance(value, int) else " ".join(_WORDS.get(word, word) for word in value.split(" "))


_WORDS = {
    "domestic": "国产",
    "foreign": "国外",
    "unknown": "未知",
    "any-model": "任意型号",
    "whole-card": "整卡",
    "link_domain": "高速互联域",
    "rack": "机架",
    "spine": "汇聚域",
    "maintenance": "维护",
    "reservation": "预留",
    "preemption": "抢占",
}


TEXTS: Mapping[str, Mapping[Language, str]] = {
    # why it costs what it costs
    "price_contracted": {"en": "the price that everybody pays", "zh": "适用一般合同价"},
    "price_preferential": {
        "en": "the preferential price: of a major facility of its own city, or under its contract",
        "zh": "适用优惠价:由所在城市重大设施提供,或合同已约定",
    },
    "price_sme": {
        "en": "the city's low-cost plan for small and medium-sized enterprises",
        "zh": "适用面向中小企业的低成本算力价格",
    },
    "price_off_peak": {"en": "in off-peak hours", "zh": "适用闲时价格"},
    "price_preferential_not_established": {
        "en": "the preferential price would be {price}: not known whether the provider is a major facility of the city "
        "(city_facility), or whether the contract grants it (preferential_price)",
        "zh": "优惠价为 {price}:尚未确认算力提供方是否为本市重大设施(city_facility),或合同是否约定优惠价(preferential_price)",
    },
    "price_sme_not_established": {
        "en": "the price for small and medium-sized enterprises would be {price}: not known whether the tenant is one (sme)",
        "zh": "中小企业价格为 {price}:尚未确认租户是否为中小企业(sme)",
    },
    # why it went there
    "placed_cheapest_net": {
        "en": "cheapest after voucher of {places} places that fit: {net}/h net, {list}/h list",
        "zh": "在 {places} 个可行位置中补贴后最便宜:净价 {net}/小时,目录价 {list}/小时",
    },
    "placed_fastest": {
        "en": "the fastest of {places} places that fit (to bring its data: {staging}): {net}/h net, {list}/h list",
        "zh": "在 {places} 个可行位置中最快(数据传输:{staging}):净价 {net}/小时,目录价 {list}/小时",
    },
    "placed_domestic_first": {
        "en": "domestic cards first: cheapest after voucher of {places} domestic places that fit: {net}/h net, {list}/h list",
        "zh": "国产优先:在 {places} 个可行的国产位置中补贴后最便宜:净价 {net}/小时,目录价 {list}/小时",
    },
    "placed_no_domestic": {
        "en": "no domestic cards could ever hold it: cheapest after voucher of {places} other places that fit: "
        "{net}/h net, {list}/h list",
        "zh": "没有任何国产位置能够容纳:在其余 {places} 个可行位置中补贴后最便宜:净价 {net}/小时,目录价 {list}/小时",
    },
    "placed_only_fit": {
        "en": "the only place that fits: {net}/h net, {list}/h list",
        "zh": "唯一可行的位置:净价 {net}/小时,目录价 {list}/小时",
    },
    "placed_spread": {"en": "it lies in {domains} {level}(s)", "zh": "分布于 {domains} 个{level}"},
    "placed_reserved": {
        "en": "on nodes reserved for its owner: {net}/h net, {list}/h list",
        "zh": "位于为其所属租户预留的节点:净价 {net}/小时,目录价 {list}/小时",
    },
    "placed_moved": {
        "en": "the place kept for it when it was moved: the same cluster, the same kind of cards, the same price",
        "zh": "迁移时为其保留的位置:同一集群、同类加速卡、同样价格",
    },
    # why it waits
    "waiting_for_cards": {
        "en": "needs {nodes} nodes × {per_node} × {what}; the best cluster, {cluster}, has {free} such nodes free now of {total}",
        "zh": "需要 {nodes} 个节点 × {per_node} × {what};最合适的集群 {cluster} 共 {total} 个此类节点,现空闲 {free} 个",
    },
    "waiting_for_domain": {
        "en": "needs {nodes} nodes × {per_node} × {what} in one {level}; the best, in {cluster}, has {free} of {total} free now",
        "zh": "需要同一{level}内 {nodes} 个节点 × {per_node} × {what};最合适的一个(集群 {cluster})共 {total} 个,现空闲 {free} 个",
    },
    "waiting_for_release": {
        "en": "its cards in {cluster} are being freed: {runs} run(s) were asked to stop",
        "zh": "集群 {cluster} 中的加速卡正在释放:已要求 {runs} 个运行停止",
    },
    "waiting_for_move": {
        "en": "enough cards of {cluster} are free but scattered: {runs} run(s) are being moved within it to bring them together,"
        " which loses {card_seconds} card-seconds",
        "zh": "集群 {cluster} 空闲加速卡足够但分散:正在集群内迁移 {runs} 个运行以腾出整块位置,损失 {card_seconds} 卡秒",
    },
    "waiting_for_faster": {
        "en": "{free} could take it now, but with the place reserved for it in {cluster}, free in {seconds} s at the latest, "
        "it is done {sooner} s sooner",
        "zh": "集群 {free} 现可容纳,但在已为其预留、最迟 {seconds} 秒后空出的集群 {cluster} 中可提前 {sooner} 秒完成",
    },
    "waiting_for_in_flight": {
        "en": "{cluster} has {in_flight} grant(s) it has not taken up yet, of at most {limit}; it is offered again once it has",
        "zh": "集群 {cluster} 尚有 {in_flight} 个授权未确认(上限 {limit} 个),确认后的轮次再授权",
    },
    "waiting_after_refusal": {
        "en": "{cluster} did not start it last time; it is not offered there again for {seconds} s",
        "zh": "集群 {cluster} 上次未能启动该作业,{seconds} 秒内不再授权给它",
    },
    "waiting_behind_reservation": {
        "en": "would fit in {cluster} now, but could delay a job ahead of it that has cards reserved there in {seconds} s",
        "zh": "集群 {cluster} 现可容纳,但可能推迟排在前面、最迟 {seconds} 秒后在此启动的已预留作业",
    },
    "held_by_min_runtime": {
        "en": "from {until} on {runs} run(s) in {cluster} could be stopped for it; until then each is left its minimum run time",
        "zh": "自 {until} 起可为其停止集群 {cluster} 中的 {runs} 个运行;此前须保证它们的最短运行时间",
    },
    "search_limited": {
        "en": "the search for a {what} was cut short at its limit of {limit}: there may be one that was not tried",
        "zh": "{what}方案的搜索已达上限 {limit},可能仍有未尝试的方案",
    },
    "waiting_for_window": {
        "en": "nodes it needs in {cluster} are set aside for {kind} from {start} to {end}, and it could still be running then",
        "zh": "集群 {cluster} 中所需的节点在 {start} 至 {end} 期间用于{kind},该作业届时可能仍在运行",
    },
    "waiting_for_quota": {
        "en": "queue {queue} may use {available} more {resource} now ({used} used, {nominal} its own), and this needs {needed}",
        "zh": "队列 {queue} 的 {resource} 现还可用 {available}(配额 {nominal},已用 {used},含借用),该作业需要 {needed}",
    },
    "waiting_for_cluster": {
        "en": "the clusters that could run it ({clusters}) are not answering; no new grants until they do",
        "zh": "可运行该作业的集群({clusters})没有应答,恢复前不再授权",
    },
    "waiting_for_price": {
        "en": "no price is set for {what} in any cluster that could run it; an operator must publish one",
        "zh": "可运行该作业的集群均未公布 {what} 的价格,需运营方先行公布",
    },
    "waiting_for_budget": {
        "en": "budget {budget} has {left} CNY left, and {asked} would be kept back for its whole max_runtime; held until that fits",
        "zh": "预算 {budget} 剩余 {left} 元,而该作业按 max_runtime 需预留 {asked} 元;待余额足够后自动继续",
    },
    "waiting_for_contract": {
        "en": "contract {contract} is not in force today ({start} to {end})",
        "zh": "合同 {contract} 今日不在有效期内({start} 至 {end})",
    },
    "waiting_for_dependency": {
        "en": "waits for {jobs} to succeed",
        "zh": "等待作业 {jobs} 成功结束",
    },
    "waiting_for_parallelism": {
        "en": "{parallelism} tasks of its array may run at a time; the next starts when one of them ends",
        "zh": "该数组作业最多同时运行 {parallelism} 个任务,其中一个结束后启动下一个",
    },
    "waiting_for_round": {
        "en": "submitted; the next scheduling round decides",
        "zh": "已提交,等待下一轮调度",
    },
    # why it can never run on what is registered today
    "never_no_such_hardware": {
        "en": "no node it may use has {per_node} × {what}",
        "zh": "可用节点中没有任何节点具备 {per_node} × {what}",
    },
    "never_larger_than_domain": {
        "en": "needs {nodes} nodes × {per_node} × {what} in one {level}; the largest, in {cluster}, has {total} such nodes in all",
        "zh": "需要同一{level}内 {nodes} 个节点 × {per_node} × {what};最大的{level}(集群 {cluster})总共只有 {total} 个此类节点",
    },
    "never_larger_than_cluster": {
        "en": "needs {nodes} nodes × {per_node} × {what}; the largest cluster, {cluster}, has {total} such nodes in all",
        "zh": "需要 {nodes} 个节点 × {per_node} × {what};最大的集群 {cluster} 总共只有 {total} 个此类节点",
    },
    "constraints_exclude": {
        "en": "{have} nodes have {per_node} × {what}; what it asks of nodes leaves {left} of them ({each})",
        "zh": "{have} 个节点具备 {per_node} × {what},其中 {left} 个满足其对节点的要求({each})",
    },
    # why not there, said of one cluster
    "place_busy": {
        "en": "needs {nodes} nodes × {per_node} × {what}; {free} of its {total} such nodes are free now",
        "zh": "需要 {nodes} 个节点 × {per_node} × {what};该集群共 {total} 个此类节点,现空闲 {free} 个",
    },
    "place_domain_busy": {
        "en": "needs {nodes} nodes × {per_node} × {what} in one {level}; its best {level} has {free} free now of {total}",
        "zh": "需要同一{level}内 {nodes} 个节点 × {per_node} × {what};其最合适的{level}共 {total} 个,现空闲 {free} 个",
    },
    "place_too_small": {
        "en": "needs {nodes} nodes × {per_node} × {what}; it has {total} such nodes in all",
        "zh": "需要 {nodes} 个节点 × {per_node} × {what};该集群总共只有 {total} 个此类节点",
    },
    "place_domain_too_small": {
        "en": "needs {nodes} nodes × {per_node} × {what} in one {level}; its largest {level} has {total} such nodes in all",
        "zh": "需要同一{level}内 {nodes} 个节点 × {per_node} × {what};其最大的{level}总共只有 {total} 个此类节点",
    },
    "place_no_such_hardware": {
        "en": "none of its nodes has {per_node} × {what}",
        "zh": "该集群没有任何节点具备 {per_node} × {what}",
    },
    "place_silent": {"en": "it is not answering; no new grants until it does", "zh": "该集群没有应答,恢复前不再授权"},
    "place_unpriced": {"en": "it has no price for {what}", "zh": "该集群未公布 {what} 的价格"},
    "place_not_preferred": {
        "en": "it has room, but with the profile {profile} the job waits for a place it prefers",
        "zh": "该集群可容纳,但按 {profile} 策略,作业等待更合适的位置",
    },
    "place_other_provider": {
        "en": "it belongs to another provider than the contract the job names",
        "zh": "该集群不属于作业所指定合同的算力提供方",
    },
    # where it stands and when it starts
    "position_in_queue": {
        "en": "{ahead} ahead of it in the queue, {competing} of them after the same kind of cards",
        "zh": "前面有 {ahead} 个作业,其中 {competing} 个需要同类加速卡",
    },
    "position_past_cards": {
        "en": "{jobs} of them go first for what its tenant has used before: {hours} {class} card-hours, halved every {half_life}",
        "zh": "其中 {jobs} 个因本租户此前已使用 {hours} 个 {class} 卡时(每过 {half_life} 折半计)而排在前面",
    },
    "position_past_cores": {
        "en": "{jobs} of them go first for what its tenant has used before: {hours} core-hours, halved every {half_life}",
        "zh": "其中 {jobs} 个因本租户此前已使用 {hours} 个核时(每过 {half_life} 折半计)而排在前面",
    },
    "start_now": {"en": "the next scheduling round starts it", "zh": "下一轮调度即可启动"},
    "start_promised": {
        "en": "its place is reserved: nobody behind it may delay it, and it starts earlier if running jobs end early",
        "zh": "已为其预留位置:排在后面的作业不会推迟它,运行中的作业提前结束则可更早启动",
    },
    "start_simulated": {
        "en": "if every job running or queued today takes its whole max_runtime; earlier if they end early, "
        "later if jobs of higher priority arrive",
        "zh": "按当前运行和排队的作业全部用满 max_runtime 推算;它们提前结束则更早,若有更高优先级的作业提交则更晚",
    },
    "start_unknown": {"en": "nothing that is known today tells when", "zh": "目前无法判断何时启动"},
    # whether its deadline can be kept
    "deadline_met_if_started_by": {
        "en": "in time for its deadline {deadline} if it starts by {start_by}, and it starts by {starts}",
        "zh": "最迟 {start_by} 启动即可赶上截止时间 {deadline},预计最迟 {starts} 启动",
    },
    "deadline_at_risk": {
        "en": "must start by {start_by} to keep its deadline {deadline}; the latest start that can be told is {starts}",
        "zh": "须在 {start_by} 前启动才能赶上截止时间 {deadline},预计最迟启动时间:{starts}",
    },
    "deadline_missed": {
        "en": "had to start by {start_by} to keep its deadline {deadline}; now it does so only if it ends before its max_runtime",
        "zh": "须在 {start_by} 前启动才能赶上截止时间 {deadline},现已错过,只有早于 max_runtime 结束才能赶上",
    },
    "deadline_kept": {
        "en": "ends by {ends}, in time for its deadline {deadline}",
        "zh": "最迟 {ends} 结束,可赶上截止时间 {deadline}",
    },
    "deadline_overrun": {
        "en": "its max_runtime lasts until {ends}, after its deadline {deadline}; it keeps that only if it ends earlier",
        "zh": "其 max_runtime 到 {ends} 为止,晚于截止时间 {deadline},只有提前结束才能赶上",
    },
    "change_runtime_for_deadline": {
        "en": "ask for a max_runtime of {max_runtime}: it then keeps its deadline",
        "zh": "将 max_runtime 缩短为 {max_runtime},即可赶上截止时间",
    },
    "change_later_deadline": {"en": "a deadline of {deadline} can be kept", "zh": "截止时间改为 {deadline} 即可赶上"},
    # what change would let it start
    "change_fewer_nodes": {
        "en": "ask for {nodes} node(s) instead of {asked}",
        "zh": "将节点数由 {asked} 个减少为 {nodes} 个",
    },
    "change_other_model": {"en": "accept {class} {model} as well", "zh": "同时接受 {class} {model}"},
    "change_other_profile": {"en": "take {profile} in place of {asked}", "zh": "将 {asked} 改为 {profile}"},
    "change_drop_constraint": {"en": "do not ask for {constraint}", "zh": "不要求 {constraint}"},
    "change_wider_topology": {"en": "accept one {to} instead of one {level}", "zh": "由同一{level}放宽为同一{to}"},
    "change_no_topology": {
        "en": "prefer one {level} and do not insist on it",
        "zh": "将同一{level}由必须改为优先",
    },
    "change_shorter_runtime": {
        "en": "ask for a max_runtime of {max_runtime}: it then ends before the cards are needed otherwise",
        "zh": "将 max_runtime 缩短为 {max_runtime},即可在加速卡另有安排之前结束",
    },
    "change_other_contract": {"en": "use contract {contract}", "zh": "改用合同 {contract}"},
    "change_no_contract": {
        "en": "do not name contract {contract}, which binds it to one provider",
        "zh": "不指定合同 {contract}(该合同将作业限定于一家算力提供方)",
    },
    "change_profile": {
        "en": "choose by price: profile {profile} instead of {asked}",
        "zh": "按价格选择:将策略由 {asked} 改为 {profile}",
    },
    "change_higher_priority": {"en": "raise its priority to {priority}", "zh": "将优先级提高到 {priority}"},
    "change_preempts": {
        "en": "raise its priority to {priority}: {stops} running job(s) of lower priority would be asked to stop for it",
        "zh": "将优先级提高到 {priority}:将要求 {stops} 个较低优先级的运行中作业为其让出资源",
    },
    # why time that was held is not charged
    "starting": {"en": "granted and not started yet: not charged", "zh": "已授权但尚未启动,不计费"},
    "node_lost": {
        "en": "lost with its node or cluster, since the last checkpoint or the start: not charged",
        "zh": "随节点或集群丢失(自最近检查点或启动起),不计费",
    },
    "overtime": {"en": "after its max_runtime, until it was stopped: not charged", "zh": "超过 max_runtime 至停止前的时间,不计费"},
    "no_price": {"en": "no price was published for it then: not charged", "zh": "当时未公布价格,不计费"},
    # what happened
    "submitted": {"en": "accepted and queued", "zh": "已受理并排队"},
    "granted": {
        "en": "granted to {cluster}: {nodes} nodes × {per_node} × {what}",
        "zh": "授权给 {cluster}:{nodes} 个节点 × {per_node} × {what}",
    },
    "taken_up": {"en": "{cluster} has it and prepares its start", "zh": "集群 {cluster} 已接收,正在准备启动"},
    "started": {"en": "running in {cluster}", "zh": "在 {cluster} 运行"},
    "cards_degraded": {
        "en": "{cards} of its cards on {node} are no longer healthy ({why}): it goes on, and nothing new is placed on them",
        "zh": "其在 {node} 上的 {cards} 张卡不再健康({why}):作业继续运行,这些卡不再接受新作业",
    },
    "cards_missing": {
        "en": "{cards} of its cards on {node} are no longer reported: it goes on until its cluster says that it has ended",
        "zh": "其在 {node} 上的 {cards} 张卡不再上报:在所在集群报告其结束之前,作业视为继续运行",
    },
    "succeeded": {"en": "finished successfully", "zh": "成功结束"},
    "array_succeeded": {"en": "all {tasks} tasks finished successfully", "zh": "全部 {tasks} 个任务成功结束"},
    "array_failed": {"en": "{failed} of {tasks} tasks failed", "zh": "{tasks} 个任务中有 {failed} 个失败"},
    "checkpoint_saved": {
        "en": "its last checkpoint is {age} old: {card_seconds} card-seconds would be lost now",
        "zh": "最近一次检查点距今 {age};若此刻中断将损失 {card_seconds} 卡秒",
    },
    "no_checkpoint": {
        "en": "it has no checkpoint yet, after {age}: {card_seconds} card-seconds would be lost now",
        "zh": "运行 {age} 以来尚无检查点;若此刻中断将损失 {card_seconds} 卡秒",
    },
    "exit_code": {"en": "the program exited with code {exit_code}", "zh": "程序以退出码 {exit_code} 结束"},
    "rank_failed": {"en": "a rank of its gang failed: {detail}", "zh": "成组作业中有一个 rank 失败:{detail}"},
    "launch_failed": {"en": "the cluster could not start it: {detail}", "zh": "集群无法启动该作业:{detail}"},
    "image_pull_failed": {"en": "{cluster} cannot pull its image: {detail}", "zh": "集群 {cluster} 无法拉取镜像:{detail}"},
    "not_placed": {
        "en": "{cluster} found no room for the whole gang in time ({detail}); no retry was used",
        "zh": "集群 {cluster} 未能及时为整组运行找到位置({detail});不计入重试次数",
    },
    "out_of_memory": {
        "en": "killed in {cluster} for the host memory it used: {detail}",
        "zh": "因主机内存超限在集群 {cluster} 被终止:{detail}",
    },
    "evicted": {"en": "evicted from its node in {cluster}: {detail}", "zh": "在集群 {cluster} 被驱逐出节点:{detail}"},
    "preempted_by_cluster": {
        "en": "removed by {cluster} itself for other work ({detail}); no retry was used",
        "zh": "被集群 {cluster} 自身为其他任务移除({detail});不计入重试次数",
    },
    "node_gone": {"en": "a node of it in {cluster} does not answer: {detail}", "zh": "集群 {cluster} 中其所在节点失联:{detail}"},
    "failed_elsewhere": {"en": "the cluster reported: {detail}", "zh": "集群报告:{detail}"},
    "retrying": {
        "en": "queued again: retry {retry} of {allowed} after {cause}",
        "zh": "重新排队:因 {cause} 进行第 {retry} 次重试(最多 {allowed} 次)",
    },
    "retries_exhausted": {
        "en": "no retries left after {cause} ({allowed} allowed)",
        "zh": "{cause} 之后已无重试次数(允许 {allowed} 次)",
    },
    "preempted": {
        "en": "stopped to make room for a job of priority {priority}; queued again",
        "zh": "为优先级 {priority} 的作业让出,重新排队",
    },
    "stop_overdue": {
        "en": "asked to stop: it has run for its whole max_runtime of {max_runtime}",
        "zh": "已要求停止:运行时间已达 max_runtime 上限 {max_runtime}",
    },
    "moved": {
        "en": "stopped to go on elsewhere in {cluster}, from its last checkpoint, so that a larger job fits; no retry was used",
        "zh": "为容纳更大的作业而停止,将在集群 {cluster} 内其他位置从最近检查点继续;不计入重试次数",
    },
    "move_requested": {
        "en": "asked to stop, to go on elsewhere in {cluster}, where a place is kept for it; no retry is used",
        "zh": "已要求停止,将在集群 {cluster} 内为其保留的位置继续;不计入重试次数",
    },
    "stop_requested": {
        "en": "asked to stop, to make room for a job of priority {priority}",
        "zh": "已要求停止,为优先级 {priority} 的作业让出资源",
    },
    "maintenance": {
        "en": "asked to stop: its nodes are under maintenance from {start} to {end}; queued again, at no cost of a retry",
        "zh": "已要求停止:其节点在 {start} 至 {end} 期间维护;重新排队,不计入重试次数",
    },
    "reservation": {
        "en": "asked to stop: its nodes are reserved for others from {start} to {end}; queued again, at no cost of a retry",
        "zh": "已要求停止:其节点在 {start} 至 {end} 期间预留给他人;重新排队,不计入重试次数",
    },
    "cancel_requested": {"en": "cancellation requested", "zh": "已请求取消"},
    "cancelled": {"en": "cancelled by its owner", "zh": "已由提交者取消"},
    "max_runtime_exceeded": {
        "en": "ran longer than its max_runtime of {max_runtime}",
        "zh": "运行时间超过 max_runtime {max_runtime}",
    },
    "dependency_failed": {
        "en": "{job}, which it depends on, ended as {state}",
        "zh": "所依赖的作业 {job} 以 {state} 结束",
    },
    "grant_expired": {
        "en": "{cluster} did not start it within {seconds} s; the grant was withdrawn",
        "zh": "{cluster} 未在 {seconds} 秒内启动,授权已撤回",
    },
    "cluster_silent": {"en": "{cluster} has been silent for {seconds} s", "zh": "{cluster} 已 {seconds} 秒没有应答"},
    "cluster_back": {"en": "{cluster} answers again", "zh": "{cluster} 已恢复应答"},
    "cluster_lost": {
        "en": "{cluster} stayed silent past the grace of {seconds} s; the attempt is fenced off",
        "zh": "{cluster} 静默超过 {seconds} 秒宽限期,本次尝试已被隔离",
    },
    "run_vanished": {"en": "{cluster} no longer has this run", "zh": "{cluster} 中已不存在该运行"},
}
