"""The programs: `python -m trainers.train` and its siblings."""
