"""The stored methods, a module each with ``make(task)``; the first line says what it is."""
