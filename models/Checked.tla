------------------------------ MODULE Checked ------------------------------
(* What models/check.py has TLC check.  Attempts are alike.  A module of its own: TLC evaluates a definition without parameters
   at its start, and the permutations of a trace's attempts are too many for that. *)
EXTENDS ThreeStrikes, TLC

Symmetric == Permutations(Attempt)
============================================================================
