"""AWS on this machine: an emulator, and a small engine that runs the unmodified Pulumi programs against it.

A development aid. It implements what the stacks of this project use and stops at anything else; what runs
on AWS is the Pulumi CLI.
"""
