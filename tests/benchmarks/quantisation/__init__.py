"""What quantising costs, rung by rung, and what each way to score clips is worth, on data that anybody can make."""
