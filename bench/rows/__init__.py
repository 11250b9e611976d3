"""The rows of the table, one module per question: ``measure(lab)`` gives its lines."""
