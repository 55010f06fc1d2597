"""The local stack: real PostgreSQL and Kafka, an SMSC, and every service, as separate processes."""
