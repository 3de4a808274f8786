# What is never done, whoever asks for it: anything in a namespace labelled as protected, and scaling a
# workload of production to nothing.
package kubernaut.safety

default decision := "allow"

decision := "deny" if count(messages) > 0

messages contains message if {
	input.namespace.labels["kubernaut.io/protected"] == "true"
	message := sprintf("namespace %s is labelled kubernaut.io/protected", [input.namespace.name])
}

messages contains message if {
	input.action == "scale_deployment"
	input.parameters.replicas == 0
	input.environment == "production"
	message := sprintf("%s %s would have no replicas in production", [input.target.kind, input.target.name])
}

messages contains message if {
	input.namespace.labels == null
	message := sprintf("the labels of namespace %s could not be read", [input.namespace.name])
}
