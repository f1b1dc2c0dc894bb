"""`choose`: one of the labels, and how likely each is."""

from deployments.gateway.recipes.calibration import CONTENT_FREE
from deployments.gateway.recipes.chooser import Chooser, Question
from deployments.gateway.recipes.decoded import Decoded
from deployments.gateway.recipes.explain import explain_choice
from deployments.gateway.recipes.explained import explained_input, explanation_of, rendering
from deployments.gateway.recipes.inner_calls import InnerCalls
from deployments.gateway.recipes.recipe_call import RecipeCall


async def chosen(chooser: Chooser, calls: InnerCalls, call: RecipeCall, tenant: str) -> Decoded:
    """Raises:
    GatewayError: as of a plain request; 400, two labels are the same to the model.
    """
    question = question_of(call, tenant)
    choice = await chooser.choose(calls, question)
    likeliest_first = sorted(choice.probabilities.items(), key=lambda item: (-item[1], item[0]))
    more = {
        "probabilities": dict(likeliest_first),
        "uncalibrated": {label: choice.uncalibrated[label] for label, _ in likeliest_first},
        "cost": choice.cost.document(),
    }
    if call.explain is None:
        return Decoded(choice.label, more)
    name = explained_input(call)
    why = await explain_choice(chooser, calls, question, rendering(call, name), call.values[name], call.explain.unit)
    return Decoded(choice.label, more, explanation_of(name, why))


def question_of(call: RecipeCall, tenant: str) -> Question:
    """The recipe's prompt, and the same with nothing in it of what the caller says; if there is nothing to leave out,
    nothing is calibrated.
    """
    output, prompt = call.recipe.output, call.ready.prompt
    labels = call.values[output.labels_from] if output.labels_from is not None else output.labels or ()
    said = [name for name in call.recipe.blanked if call.values[name] is not None]
    blanks = tuple(call.messages(prompt, **dict.fromkeys(said, empty)) for empty in CONTENT_FREE if said)
    return Question(tenant, call.model, call.messages(prompt), tuple(labels), blanks)
