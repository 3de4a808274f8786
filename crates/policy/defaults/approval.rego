# Which plans ask a person, besides those that confidence and risk make ask already: those that touch a
# namespace labelled as production, and those of high risk. It can tighten only: `allow` allows nothing that
# confidence and risk do not.
package kubernaut.approval

default decision := "allow"

decision := "ask" if count(messages) > 0

messages contains "the plan is of high risk" if input.risk == "High"

messages contains message if {
	some step in input.steps
	production(step.namespace.labels)
	message := sprintf("namespace %s is labelled as production", [step.namespace.name])
}

messages contains message if {
	some step in input.steps
	step.namespace.labels == null
	message := sprintf("the labels of namespace %s could not be read", [step.namespace.name])
}

production(labels) if {
	some key in ["environment", "kubernaut.io/environment"]
	lower(labels[key]) in {"production", "prod"}
}
