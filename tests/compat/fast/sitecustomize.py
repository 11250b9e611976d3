"""On a client's path, time runs sixty times as fast: `shub … -f` looks every 15 s, and at a job's state once a minute."""

import time

FASTER = 60
_sleep, _time, _start = time.sleep, time.time, time.time()
time.sleep = lambda seconds: _sleep(seconds / FASTER)
time.time = lambda: _start + (_time() - _start) * FASTER
