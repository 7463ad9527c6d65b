"""Evaluations that measure how good a language model is as an automated AI researcher."""
