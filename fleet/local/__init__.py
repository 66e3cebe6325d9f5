"""The real parts of a fleet on one machine: found, started, waited for, and ended.

Everything listens on loopback, writes its logs into one run folder, and dies with its owner, also
when the owner is killed. The modules, one noun each:

- `tools`: where the server programs come from (PATH, a cached build, a build made now)
- `processes`: one child process, from start to a sure end
- `run_dir`: the folder of one run, and how `fleet status` finds a running fleet
- `livekit`, `redis`, `simulators`, `ray_cluster`: the parts
- `bootstrap`: the working tree's own set-up; a plain file, never imported
"""
