"""The console over a simulated fleet on loopback: a real ssh server, our own drivers, hosts that exist in memory only.

Nothing here runs a command: what our drivers send is recognised and answered from a model, anything else is unknown.
"""
