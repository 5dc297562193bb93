"""The scenarios, and the classes that are put to the test in them. `make stress` runs them."""
