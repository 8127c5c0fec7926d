"""What `alexnet doctor` prints when it is done."""

from alexnet.doctor import PAGE, Examination, next_steps, summary
from alexnet.tables import say
from alexnet.terminal import print_table


def examination(found: Examination) -> None:
    """How many of each kind, the worst leak, and what to do next."""
    counts = summary(found)
    looked = len(found.inspection.looks)
    say(f"looked at {looked:,} pictures of {len(found.findings.classes)} classes; nothing was changed")
    rows = [(name, f"{count:,}") for name, count in counts.items() if count]
    if rows:
        print_table("", ("found", "how many"), rows)
    else:
        say("nothing is wrong with them")
    looks = found.inspection.looks
    for group in found.findings.groups[:1]:  # the worst comes first
        where = "two splits" if group.leak else "two classes" if group.conflict else "one class"
        names = " and ".join(looks[i].name for i in group.pictures[:2])
        say(f"in {where}, for example: {names} ({', '.join(group.how)})")
    remarks = found.findings.class_remarks
    for remark in remarks[:5]:
        say(f"note: {remark}")
    if len(remarks) > 5:
        say(f"note: {len(remarks) - 5} more classes of which there are too few pictures")
    say(f"page:   {found.folder / PAGE}")
    excluded = len(found.findings.excluded)
    if excluded:
        say(f"to be left out, if you agree: {excluded:,} picture{'s' * (excluded > 1)}")
    *sentences, command = next_steps(found)
    for sentence in sentences:
        say(f"next:   {sentence}")
    print(f"next:   {command}")  # not wrapped: it is there to be copied
