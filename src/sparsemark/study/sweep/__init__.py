"""Sweep: a study over several workers of Dask distributed, by the stages that a run on one machine goes through.

Preparing and checking go to all workers. Timing goes to one worker of each host, which starts fresh processes, and each
of those holds the host's lock: Dask's resources count per worker, the lock counts per host.
"""
