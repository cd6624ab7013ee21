"""Frozen values: models, parameters, options, credentials, answers, events. No input or output."""
