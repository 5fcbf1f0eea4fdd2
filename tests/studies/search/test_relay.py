"""A search and its final models share the slots."""

from studies.search.memory_ledger import MemoryLedger
from studies.search.plans import Finals
from studies.search.relay import Relay
from tests.studies.reports import epoch_report
from tests.studies.search.in_memory import EPOCHS, coordinate, make_spec

SPEC = make_spec(tiles=(5, 24), trials=2, grace_epochs=EPOCHS, seeds=2)


def plan_of(search, arm):
    """Final models of what was selected, once the arm's search is complete."""
    return Finals.confirming(SPEC, {arm: search.selection(arm).config} if search.is_arm_complete(arm) else {}, 24)


def start(ledger):
    """A search and the final models of those arms whose search is complete."""
    search, final = coordinate(SPEC, ledger=ledger), coordinate(SPEC, Finals.confirming(SPEC, {}, 24), ledger)
    for arm in search.arms:
        extend(final, plan_of(search, arm))
    return search, final


def extend(final, plan):
    final.ledger.add_arms({arm.name: arm.architecture for arm in plan.arms})
    final.extend(plan)


def end(one, trial):
    one.report(trial.key, epoch_report(EPOCHS, 0.5 + trial.number / 10, ended="epochs"))


def test_final_models_begin_when_their_arm_s_search_ended_and_only_in_slots_that_searches_leave_idle():
    search, final = start(MemoryLedger({}))
    relay = Relay([search, final])
    few, many = search.arms
    running = [relay.next() for _ in range(4)]
    assert [trial.arm for trial in running] == [few, many, few, many]
    assert relay.next() is None  # nothing to hand out, but much that runs
    assert (relay.num_running, relay.is_final, relay.is_complete) == (4, False, False)
    for trial in running[0], running[2]:
        end(relay.of(trial.key), trial)
    extend(final, plan_of(search, few))
    first, second = relay.next(), relay.next()
    assert {trial.arm.confirms for trial in (first, second)} == {running[2].config.signature()}
    assert [first.number, second.number] == [0, 1]
    assert relay.of(first.key) is final
    search.interrupt(running[1].key)
    assert relay.next() is running[1]  # the search comes first
    for trial in running[1], running[3]:
        assert not relay.is_final
        end(relay.of(trial.key), trial)
    assert relay.is_final  # models still run, but nothing follows on them
    for trial in first, second:
        end(relay.of(trial.key), trial)
    assert relay.is_complete  # as far as is known
    extend(final, plan_of(search, many))
    assert not relay.is_complete


def test_study_that_is_killed_in_both_goes_on_in_both():
    ledger = MemoryLedger({})
    search, final = start(ledger)
    few = search.arms[0]
    trials = [search.next() for _ in range(4)]
    for trial in trials[0], trials[1], trials[2]:
        end(search, trial)
    extend(final, plan_of(search, few))
    end(final, final.next())
    half_done = final.next()
    final.report(half_done.key, epoch_report(1, 0.3))
    again, final_again = start(ledger)  # and the first two are gone
    assert [arm.confirms for arm in final_again.arms] == [trials[2].config.signature()]
    relay = Relay([again, final_again])
    (left, model) = relay.next(), relay.next()
    assert (left.key, left.epoch) == (trials[3].key, 0)
    assert (model.key, model.epoch, model.config) == (half_done.key, 1, half_done.config)
    assert (again.num_ended, final_again.num_ended) == (3, 1)


def test_plan_of_all_arms_is_that_of_each():
    search, final = start(MemoryLedger({}))
    while (trial := search.next()) is not None:
        end(search, trial)
    for arm in reversed(search.arms):
        extend(final, plan_of(search, arm))
    together = Finals.confirming(SPEC, {arm: search.selection(arm).config for arm in search.arms}, 24)
    assert set(final.arms) == set(together.arms)
    assert final.num_planned == sum(map(together.allowance, together.arms)) == 4
    while (trial := final.next()) is not None:
        assert trial.config == together.config(trial.arm, trial.number, {})
