"""Who is who: the hub's certificate authorities, enrolment, renewal, revocation, and the broker's rules that follow."""
