"""Work that outlives the console: tasks, the workers that perform them, and timers.

submit.py    a task row instead of an execution          leg.py      one stretch of a task in a worker
worker.py    the process: claims, beats, takes over      workflow.py the durable workflow around a leg
handle.py    what a change may use while it is a task    output.py   what tasks print, byte by byte
jobs.py      timers                                      reads.py, controls.py  the operations
"""
