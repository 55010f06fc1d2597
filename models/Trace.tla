------------------------------- MODULE Trace -------------------------------
(***************************************************************************)
(* Whether what the services traced is a behaviour of ThreeStrikes.        *)
(*                                                                         *)
(* Subjects, in the generated module TraceData, holds for each subject:    *)
(*  lockout   what happened under its row lock, in that order              *)
(*  auth      what was appended to its account, in the order of versions,  *)
(*            and where in it failures were read for a settling            *)
(*  evaluated by attempt, the version tested and whether it was right      *)
(*  back      places given back: their row went without the lock, so they  *)
(*            are known to come after a number of lockout's lines, no more *)
(*  silent    steps that may have left no line: of a process that was      *)
(*            killed meanwhile, or one that could not learn their outcome  *)
(* Versions are one higher than in the code: 1 is before the first.        *)
(*                                                                         *)
(* TLC looks for an order of all of them in which each is a step of the    *)
(* model.  Where trying one order is enough it tries one: what an attempt  *)
(* does in auth's memory, and appending anything but a new password, never *)
(* keeps another step from being taken, so it is done as soon as possible. *)
(***************************************************************************)
EXTENDS ThreeStrikes, Sequences, TLC, TraceData

VARIABLES
    subject,   \* which one
    l, m,      \* how many lines of lockout and of auth have been read
    back,      \* indices of the places still to be given back
    silent     \* silent steps not taken so far

cursor == <<subject, l, m, back, silent>>

Given == Subjects[subject]

TraceInit ==
    /\ Init
    /\ subject \in 1..Len(Subjects)
    /\ l = 0 /\ m = 0
    /\ back = 1..Len(Given.back)
    /\ silent = Given.silent

(* The end of a trace that fits. *)
Accepted ==
    /\ l = Len(Given.lockout) /\ m = Len(Given.auth) /\ back = {}
    /\ \A a \in DOMAIN Given.evaluated : pc[a] \notin {"new", "admitted", "loaded"}
Report   == Accepted => PrintT(<<"accepted", subject>>)
Progress == PrintT(<<"reached", subject, l, m, Len(Given.back) - Cardinality(back)>>)

----------------------------------------------------------------------------

(* Asked at the end of a transaction; a place may have been given back since it counted. *)
Agrees(line) ==
    LET mayBeGone == {Given.back[i].a : i \in {j \in back : Given.back[j].after <= l}}
        open      == {a \in Attempt : row'[a] > 0}
    IN /\ epoch' = line.epoch /\ strikes' = line.strikes
       /\ line.open <= Cardinality(open)
       /\ Cardinality(open \ mayBeGone) <= line.open

Nothing == UNCHANGED vars

LockoutLine(line) ==
    CASE line.kind = "admit"   -> Admit(line.a)
      [] line.kind = "full"    -> ~HasPlace /\ ~Blocked /\ Nothing
      [] line.kind = "blocked" -> Blocked /\ Nothing
      [] line.kind = "strike"  -> Strike(line.a)
      [] line.kind = "sweep"   -> Sweep(line.a)
      [] line.kind = "gone"    -> line.a \notin Open /\ Nothing
      [] line.kind = "settle"  -> (Settle(line.a) /\ forgiving[line.a] = line.set) \/ MeetSuccess(line.a)
      [] line.kind = "refuse"  -> row[line.a] # epoch /\ Nothing
      [] line.kind = "raise"   -> RaiseEpoch(line.v)
      [] line.kind = "known"   -> epoch >= line.v /\ Nothing

ReadLockout ==
    /\ l < Len(Given.lockout)
    /\ LET line == Given.lockout[l + 1] IN LockoutLine(line) /\ Agrees(line)
    /\ l' = l + 1
    /\ UNCHANGED <<subject, m, back, silent>>

AuthLine(line) ==
    CASE line.kind = "record"  -> Record(line.a)
      [] line.kind = "read"    -> openFailures = line.set /\ Read(line.a)
      [] line.kind = "success" -> AppendSuccess(line.a)
      [] line.kind = "change"  -> \E a \in Attempt : AppendChange(a)
      [] line.kind = "reset"   -> ResetPassword

(* Whether the next line of auth is one that is read as soon as possible, and possible now. *)
AuthIsReady ==
    /\ m < Len(Given.auth)
    /\ LET line == Given.auth[m + 1] IN
       CASE line.kind = "record"  -> pc[line.a] = "wrong"
         [] line.kind = "read"    -> pc[line.a] = "right" /\ openFailures = line.set
         [] line.kind = "success" -> pc[line.a] = "settled" /\ version = seen[line.a]
         [] OTHER -> FALSE

ReadAuth ==
    /\ m < Len(Given.auth)
    /\ AuthLine(Given.auth[m + 1])
    /\ m' = m + 1
    /\ UNCHANGED <<subject, l, back, silent>>

GivenBack ==
    \E i \in back :
        /\ Given.back[i].after <= l
        /\ GiveBack(Given.back[i].a)
        /\ back' = back \ {i}
        /\ UNCHANGED <<subject, l, m, silent>>

SilentStep(step) ==
    CASE step.kind = "admit"   -> Admit(step.a)
      [] step.kind = "back"    -> GiveBack(step.a)
      [] step.kind = "strike"  -> Strike(step.a)
      [] step.kind = "sweep"   -> Sweep(step.a)
      [] step.kind = "settle"  -> Settle(step.a)
      [] step.kind = "record"  -> Record(step.a)
      [] step.kind = "success" -> AppendSuccess(step.a)
      [] step.kind = "raise"   -> RaiseEpoch(step.a)
      [] step.kind = "reset"   -> ResetPassword \/ \E a \in Attempt : AppendChange(a)

Silently ==
    \E step \in silent :
        /\ SilentStep(step)
        /\ silent' = silent \ {step}
        /\ UNCHANGED <<subject, l, m, back>>

(* What auth does with an attempt in memory, as soon as possible. *)
Evaluated(a) == a \in DOMAIN Given.evaluated
ToLoad     == {a \in Attempt : pc[a] = "admitted" /\ Evaluated(a) /\ row[a] = version /\ Given.evaluated[a].v = version}
ToEvaluate == {a \in Attempt : pc[a] = "loaded" /\ Evaluated(a) /\ a \notin swept}
InMemory ==
    LET a == CHOOSE b \in ToLoad \cup ToEvaluate : TRUE
    IN IF a \in ToLoad THEN Load(a) ELSE Evaluate(a, Given.evaluated[a].right)

TraceNext ==
    IF Accepted THEN FALSE
    ELSE IF ToLoad \cup ToEvaluate # {} THEN InMemory /\ UNCHANGED cursor
    ELSE IF AuthIsReady THEN ReadAuth
    ELSE ReadLockout \/ ReadAuth \/ GivenBack \/ Silently

TraceSpec == TraceInit /\ [][TraceNext]_<<vars, cursor>>
============================================================================
