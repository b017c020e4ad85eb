"""Tells other systems and people what happened: signed webhooks, e-mail, work orders for maintenance systems.

What is to be told is written into an outbox in the database and sent from there, again and again until it has arrived
or a bound is reached. The only folder that opens connections to addresses which people type in.
"""
