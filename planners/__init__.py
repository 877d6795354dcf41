"""What to do: fingerprint and resources in, plan out."""
