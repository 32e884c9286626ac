"""The relay: takes providers' webhooks on premises, makes them durable, and delivers them to legacy and to AWS."""
