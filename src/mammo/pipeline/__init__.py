"""Work that stages, command line and notebooks share: training runs, search, promotion, reproduce, accept."""
