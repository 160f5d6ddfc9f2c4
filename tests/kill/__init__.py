"""SIGKILL of a service, its worker and its training children at random moments, under load (`make kill`).

`zygote` starts the processes (real code, forked from one that has imported it: a start costs milliseconds),
`load` are clients that keep an fsynced log of what was acknowledged, `observer` hashes everything that is
visible under a final name, `killer` kills by a seed, `verdict` says what was lost, doubled, partial or left
over, and `mutants` are faults seeded into the service that each must be found out.
"""
