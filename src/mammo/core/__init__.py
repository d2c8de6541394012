"""Configuration, paths, table schemas, records, files, parallel work, resuming, errors."""
