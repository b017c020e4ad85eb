"""What becomes of an alarm once a gateway has raised it: its states after ISA-18.2, what people may do, its figures."""
