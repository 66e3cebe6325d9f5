"""What the Locust scenario is made of; `loadtest/locustfile.py` puts it before Locust.

    fates.py        what becomes of each interview, drawn from a seed; pure
    contract.py     an interview as a backend asks for it; pure
    arrivals.py     when interviews are asked for, and their numbers; pure
    shapes.py       how many users there are at each moment; pure
    outcomes.py     what came of an interview, and the file of those
    measures.py     a participant's lines -> measures for Locust; pure
    options.py      the command line, the environment and the web form
    backend.py      what a study's backend does, over HTTP
    crowd.py        real participants, in a child process
    errors.py       what goes wrong, in words

Locust patches the standard library for gevent. The participants' asyncio and the native library
below it stand that neither in this process nor in a fork of it: they run in a child of their own,
started by exec.
"""
