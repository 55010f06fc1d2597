--------------------------- MODULE ThreeStrikes ---------------------------
(***************************************************************************)
(* The three-strike protocol as the code has it (docs/architecture.md),    *)
(* for one subject: no transaction of the protocol reads or writes two.    *)
(*                                                                         *)
(* Each action is one transaction, or one step in the memory of an auth    *)
(* server; the comment before it names the code.  What is left open is     *)
(* left wider than the code, never narrower:                               *)
(*  - every attempt is a process of its own, so there are as many auth     *)
(*    servers as attempts; one that crashed takes no more steps, and its   *)
(*    memory is never read again;                                          *)
(*  - a call between auth and lockout is lost, late or unanswered when     *)
(*    steps between which it travels are never taken, or much later;       *)
(*  - the stream may meet any stored event, as often and in any order;     *)
(*  - an attempt is too old as soon as somebody pleases: the sweep may     *)
(*    take any open one.                                                   *)
(*                                                                         *)
(* Without: the guards that are taken out, to see what each is good for.   *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets, TLC

CONSTANTS Attempt, Limit, MaxVersion, Without

VARIABLES
    epoch, strikes,   \* lockout's database: table subject; three strikes are a block
    row,              \* table attempt: the epoch of an attempt's row; 0: there is none
    version,          \* auth's database: account.credential_version
    openFailures,     \* account.open_failures
    failed,           \* attempts whose LoginFailed is stored
    succeeded,        \* attempts whose LoginSucceeded is stored
    pc,               \* auth's memory: how far it is with an attempt
    seen,             \* the version of the password that was read for it
    forgiving,        \* for a right one: openFailures as it read them before settling
    swept, settled,   \* history: what became of rows that are gone
    wrong,            \* history: by version, wrong guesses evaluated since its last success
    behind,           \* history: attempts that the present strikes are for
    forgiven,         \* history: failures that the last success knew of
    twice             \* history: whether an attempt was counted a second time

lockout == <<epoch, strikes, row>>
auth    == <<version, openFailures, failed, succeeded>>
memory  == <<pc, seen, forgiving>>
counts  == <<wrong, behind, forgiven, twice>>
history == <<swept, settled, counts>>
vars    == <<lockout, auth, memory, history>>

Guard(name) == name \notin Without
Open        == {a \in Attempt : row[a] > 0}
Blocked     == strikes >= Limit
Symmetric   == Permutations(Attempt)

(* A registered account whose first version lockout has heard of. *)
Init ==
    /\ epoch = 1 /\ strikes = 0
    /\ row = [a \in Attempt |-> 0]
    /\ version = 1 /\ openFailures = {} /\ failed = {} /\ succeeded = {}
    /\ pc = [a \in Attempt |-> "new"] /\ seen = [a \in Attempt |-> 0] /\ forgiving = [a \in Attempt |-> {}]
    /\ wrong = [v \in 1..MaxVersion |-> 0] /\ behind = {} /\ forgiven = {} /\ twice = FALSE
    /\ swept = {} /\ settled = {}

----------------------------------------------------------------------------
(* Lockout's transactions.                                                  *)

HasPlace == /\ ~Blocked
            /\ strikes + (IF Guard("count before compare") THEN Cardinality(Open) ELSE 0) < Limit

(* What auth forgets of an attempt that is over. *)
Over(a) == pc' = [pc EXCEPT ![a] = "over"] /\ seen' = [seen EXCEPT ![a] = 0]

Insert(a) == /\ row' = [row EXCEPT ![a] = epoch]
             /\ pc' = [pc EXCEPT ![a] = "admitted"]

(* Rule 2: admit_attempt in 0001_lockout.sql, called by Guesses._admit_current_version. *)
Admit(a) ==
    /\ Guard("row lock")
    /\ pc[a] = "new" /\ HasPlace
    /\ Insert(a)
    /\ UNCHANGED <<epoch, strikes, auth, seen, forgiving, history>>

(* Without the row lock it would be two steps. *)
LookUnlocked(a) ==
    /\ ~Guard("row lock")
    /\ pc[a] = "new" /\ HasPlace
    /\ pc' = [pc EXCEPT ![a] = "looked"]
    /\ UNCHANGED <<lockout, auth, seen, forgiving, history>>
InsertUnlocked(a) ==
    /\ pc[a] = "looked"
    /\ Insert(a)
    /\ UNCHANGED <<epoch, strikes, auth, seen, forgiving, history>>

(* decide_failure in domain.py. *)
StrikeFor(a) ==
    IF ~Blocked /\ row[a] \in {0, epoch}
    THEN strikes' = strikes + 1 /\ behind' = behind \cup {a}
    ELSE UNCHANGED <<strikes, behind>>

(* Rule 6: the stream meets LoginFailed; LockoutStore.record_failure. *)
Strike(a) ==
    /\ a \in failed
    /\ IF Guard("strike by row") THEN a \in Open ELSE ~Blocked
    /\ row' = [row EXCEPT ![a] = 0]
    /\ twice' = (twice \/ a \notin Open)
    /\ StrikeFor(a)
    /\ UNCHANGED <<epoch, auth, memory, swept, settled, wrong, forgiven>>

(* Rule 8: LockoutStore.sweep.  From now on the attempt is too old for an outcome (rule 5). *)
Sweep(a) ==
    /\ Guard("sweep")
    /\ a \in Open
    /\ row' = [row EXCEPT ![a] = 0]
    /\ swept' = swept \cup {a}
    /\ IF Guard("lost counts as wrong") THEN StrikeFor(a) ELSE UNCHANGED <<strikes, behind>>
    /\ UNCHANGED <<epoch, auth, memory, settled, wrong, forgiven, twice>>

(* decide_success in domain.py: a block stays. *)
ClearStrikes == IF Blocked THEN UNCHANGED <<strikes, behind>> ELSE strikes' = 0 /\ behind' = {}

(* Rule 7: LockoutStore.settle_right.  Refused: the attempt takes no more steps. *)
Settle(a) ==
    /\ pc[a] = IF Guard("settle first") THEN "read" ELSE "appended"
    /\ row[a] = epoch
    /\ row' = [b \in Attempt |->
                  IF b = a \/ (b \in forgiving[a] /\ Guard("forgive earlier failures")) THEN 0 ELSE row[b]]
    /\ settled' = settled \cup {a}
    /\ ClearStrikes /\ forgiven' = forgiving[a] \cap Open
    /\ wrong' = IF Guard("settle first") THEN [wrong EXCEPT ![seen[a]] = 0] ELSE wrong
    /\ pc' = [pc EXCEPT ![a] = IF Guard("settle first") THEN "settled" ELSE "over"]
    /\ UNCHANGED <<epoch, auth, seen, forgiving, swept, twice>>

(* Rule 7: the stream meets LoginSucceeded; outcomes._settle_one. *)
MeetSuccess(a) ==
    /\ a \in succeeded
    /\ IF Guard("reset by row") THEN row[a] = epoch ELSE strikes > 0
    /\ row' = [row EXCEPT ![a] = 0]
    /\ settled' = settled \cup {a}
    /\ ClearStrikes
    /\ UNCHANGED <<epoch, auth, memory, swept, wrong, forgiven, twice>>

(* Rule 9: LockoutStore.raise_epoch, told over gRPC, by the stream, or by a sign-in that saw a newer version. *)
RaiseEpoch(v) ==
    /\ IF Guard("monotonic epoch") THEN v > epoch ELSE v # epoch
    /\ v <= version
    /\ epoch' = v /\ strikes' = 0 /\ behind' = {} /\ forgiven' = {}
    /\ row' = IF Guard("void what is open") THEN [a \in Attempt |-> 0] ELSE row
    /\ UNCHANGED <<auth, memory, swept, settled, wrong, twice>>

(* Rule 3: LockoutStore.give_back; Guesses._make gives back what was not spent. *)
GiveBack(a) ==
    /\ pc[a] \in {"admitted", "loaded"} \cup (IF Guard("give back unevaluated only") THEN {} ELSE {"wrong"})
    /\ a \in Open
    /\ row' = [row EXCEPT ![a] = 0]
    /\ Over(a)
    /\ UNCHANGED <<epoch, strikes, auth, forgiving, history>>

----------------------------------------------------------------------------
(* Auth.                                                                    *)

(* Rule 4: Guesses._admit_current_version reads the hash; another version is given back. *)
Load(a) ==
    /\ pc[a] = "admitted"
    /\ Guard("epoch is the version") => version = row[a]
    /\ seen' = [seen EXCEPT ![a] = version]
    /\ pc' = [pc EXCEPT ![a] = "loaded"]
    /\ UNCHANGED <<lockout, auth, forgiving, history>>

(* Rule 5: Guesses._evaluate.  The look at the age after the hash is the moment at which a guess counts as evaluated:
   afterwards only its answer may be late. *)
Evaluate(a, right) ==
    /\ pc[a] = "loaded"
    /\ Guard("age bound") => a \notin swept
    /\ pc' = [pc EXCEPT ![a] = IF right THEN "right" ELSE "wrong"]
    /\ wrong' = IF right THEN wrong ELSE [wrong EXCEPT ![seen[a]] = @ + 1]
    /\ UNCHANGED <<lockout, auth, seen, forgiving, swept, settled, behind, forgiven, twice>>

(* Rule 6: LoginFailed is appended (Guesses._record).  Its look at the age is not relied on: the append comes after it. *)
Record(a) ==
    /\ pc[a] = "wrong"
    /\ failed' = failed \cup {a} /\ openFailures' = openFailures \cup {a}
    /\ Over(a)
    /\ UNCHANGED <<lockout, version, succeeded, forgiving, history>>

(* Rule 7: Guesses._settle_right reads the failures that are stored by now. *)
Read(a) ==
    /\ pc[a] = "right"
    /\ forgiving' = [forgiving EXCEPT ![a] = openFailures]
    /\ pc' = [pc EXCEPT ![a] = "read"]
    /\ UNCHANGED <<lockout, auth, seen, history>>

(* Rule 7: after the settling, LoginSucceeded, or PasswordChanged, on the version that was verified (decide_success,
   decide_change). *)
Append(a) ==
    /\ pc[a] = IF Guard("settle first") THEN "settled" ELSE "read"
    /\ Guard("append on the version") => version = seen[a]
    /\ IF Guard("settle first") THEN Over(a) ELSE pc' = [pc EXCEPT ![a] = "appended"] /\ UNCHANGED seen
    /\ forgiving' = [forgiving EXCEPT ![a] = {}]
    /\ wrong' = IF Guard("settle first") THEN wrong ELSE [wrong EXCEPT ![seen[a]] = 0]
    /\ UNCHANGED <<lockout, failed, swept, settled, behind, forgiven, twice>>
AppendSuccess(a) ==
    /\ Append(a)
    /\ succeeded' = succeeded \cup {a} /\ openFailures' = openFailures \ forgiving[a]
    /\ UNCHANGED version
AppendChange(a) ==
    /\ Append(a)
    /\ version < MaxVersion
    /\ version' = version + 1 /\ openFailures' = {}
    /\ UNCHANGED succeeded

(* A new password by one who proved the number (Recovery._reset): the protocol has no say in it. *)
ResetPassword ==
    /\ version < MaxVersion
    /\ version' = version + 1 /\ openFailures' = {}
    /\ UNCHANGED <<lockout, failed, succeeded, memory, history>>

----------------------------------------------------------------------------

Next ==
    \/ \E a \in Attempt :
        \/ Admit(a) \/ LookUnlocked(a) \/ InsertUnlocked(a) \/ Load(a) \/ GiveBack(a)
        \/ Evaluate(a, TRUE) \/ Evaluate(a, FALSE)
        \/ Record(a) \/ Read(a) \/ Settle(a) \/ AppendSuccess(a) \/ AppendChange(a)
        \/ Strike(a) \/ Sweep(a) \/ MeetSuccess(a)
    \/ \E v \in 1..MaxVersion : RaiseEpoch(v)
    \/ ResetPassword

Spec == Init /\ [][Next]_vars

(* Auth may stop at any point for ever.  The stream and the sweep come back. *)
FairSpec ==
    /\ Spec
    /\ \A a \in Attempt : WF_vars(Strike(a)) /\ WF_vars(Sweep(a))
    /\ \A v \in 1..MaxVersion : WF_vars(RaiseEpoch(v))

----------------------------------------------------------------------------
(* Safety.                                                                  *)

(* B1.  A success counts from its settling. *)
ThreeAtMost == \A v \in 1..MaxVersion : wrong[v] <= Limit

(* Each strike stands for an attempt of its own, of this epoch, that was wrong or lost, and that the last success did not
   know to have failed. *)
StrikesAreDeserved ==
    /\ Cardinality(behind) = strikes
    /\ \A a \in behind : a \in (failed \cup swept) \ (settled \cup forgiven)

(* No attempt is struck for a second time, and none that succeeded is struck for. *)
CountedOnce == ~twice /\ (settled \cup succeeded) \cap (swept \cup behind) = {}

PlacesAreThree == strikes + Cardinality(Open) <= Limit

(* A reset voids what is open. *)
NothingOldIsOpen == \A a \in Open : row[a] = epoch

(* M3: neither a right password nor anything else but a new one. *)
OnlyANewPasswordLiftsABlock == [][Blocked /\ strikes' < Limit => epoch' > epoch]_vars

(* Whoever signs in gave the password that is set now: none of before a reset signs in after it. *)
OnlyThePresentPasswordSignsIn == [][\A a \in succeeded' \ succeeded : seen[a] = version]_vars

(* Liveness.                                                                *)

EveryAttemptSettles == \A a \in Attempt : a \in Open ~> a \notin Open

NobodyIsStuck ==
    ~Blocked /\ strikes + Cardinality(Open) >= Limit ~> Blocked \/ strikes + Cardinality(Open) < Limit

ANewPasswordIsHeardOf == \A v \in 1..MaxVersion : version = v ~> epoch >= v
============================================================================
