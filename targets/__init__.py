"""Target profiles: one TOML file per device, facts with sources, no code."""
