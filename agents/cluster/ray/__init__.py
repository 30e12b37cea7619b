"""What the `ray` launcher stands on: Ray's HTTP API (`api`), its nodes by the city's names (`nodes`), what a job of it says of a
run (`observed`), and `payload`, the two small programs it ships to Ray (`packing`): one that runs a rank on its node (`rank`) and
one that drives a gang of several (`gang`).
"""
