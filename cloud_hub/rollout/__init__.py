"""Rollouts: wants moved through cohorts, judged on behaviour. Pure: plan, maintenance windows, evidence, machine.

Storing is `cloud_hub.store.rollouts`' part, sending `cloud_hub.services.rollouts`'.
"""
