"""The main job, end to end: `command.demo` starts a city, walks a dozen jobs through it and checks what must be true.

`city.yaml` says who takes part, `sites/` has the two recorded clusters, `jobs.yaml` the jobs, `train.py` the training script that
really runs on Ray; `story` is the walk and `checks` what has to hold at its end.
"""
