"""What the researcher's page shows, kept up to date for every viewer by one reader.

    Redis, control actors → a source → tables → frames → any number of viewers

``hub`` looks twice a second at what has changed in Redis, while anybody watches, and hands that to
the feeds that are open. A feed keeps its source's rows with the version in which each of their
fields changed (``tables``); a viewer that has seen version 7 gets what is newer. So a viewer costs
the bytes it is sent, and one that reads slowly gets fewer and larger frames: none are kept for it.
"""
