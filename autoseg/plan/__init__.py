"""The plan: the schema of plan.json, its checks, reading and writing."""
