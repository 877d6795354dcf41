"""How to learn: plan and fold in, weights out."""
