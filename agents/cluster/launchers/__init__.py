"""The ways to run programs in a cluster, one file each; every one is an `agents.cluster.launcher.Launcher`."""
