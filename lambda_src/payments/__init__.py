"""The payment domain: events, money and states. Imports nothing outward and reads no clock."""
