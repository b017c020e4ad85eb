"""What happens, told to all who watch: one question to the database for all of them."""
