"""The Loop IR: one kernel as loops, loads, stores and expressions."""
