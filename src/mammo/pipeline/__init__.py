"""What stages, command line and notebook API share: training runs, search, promotion, reproduction."""
