"""What needs this caller's attention, and the pulse of the installation: everything by his rights, nothing asked anew.

`show.py` is the read, one module per subject beside it; `looked_after.py` is where a person says that an end nobody
wanted was looked at, so that it need not be shown to the next.
"""
