"""alpha"""
