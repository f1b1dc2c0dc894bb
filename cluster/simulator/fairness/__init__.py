"""Two tenants on one fleet: one asks for little, the other for many times that."""
