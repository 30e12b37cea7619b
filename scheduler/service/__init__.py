"""The city at work: what happens to a job between its submission and its last cost line.

Enter at `dispatcher.Dispatcher.run(stop)`, the loop of the one leader. Each turn it reads a `snapshot`, runs the pure engine on
it outside any transaction, and commits the decisions guarded by its `leadership` epoch; then `expiry` looks after silent
clusters and overdue runs, and `meter` posts cost lines. `lifecycle` holds every change of a job's state, for the API (which
submits, cancels and observes) and for the dispatcher (which grants and stops).
"""
