"""Side-by-side measurements; nothing here is a test. `python -m bench --help` names them."""
