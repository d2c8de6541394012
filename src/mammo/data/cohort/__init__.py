"""Who is in which split: file manifest, leak audit, splits, integrity, summary."""
