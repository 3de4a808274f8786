# Tells what kind of trouble a signal is and how urgent. What a pod shows counts for more than what somebody
# called an alert; annotations count for nothing.
package kubernaut.classification

resource_type := input.target.kind

# The usual words of alerting systems; what is not known is medium.
default severity := "medium"

severity := level if {
	reported := lower(trim_space(input.signal.severity))
	some level, known in {
		"critical": {"critical", "crit", "page", "emergency", "fatal", "disaster", "p0", "p1", "sev1"},
		"high": {"high", "error", "major", "alert", "p2", "sev2"},
		"low": {"low", "info", "information", "informational", "notice", "minor", "debug", "none", "p4"},
	}
	reported in known
}

# Severity sets the level; outside production it is one less urgent, in development two.
priority := ["P0", "P1", "P2", "P3"][min([level + relief, 3])] if {
	level := {"critical": 0, "high": 1, "medium": 2, "low": 3}[severity]
	relief := object.get({"production": 0, "development": 2}, environment, 1)
}

# From the alert's labels, else from the words of the namespace's name.
default environment := "unknown"

environment := [found |
	some name in array.concat(labelled, [name | name := input.target.namespace])
	found := environment_of(name)
][0]

labelled := [name |
	some label in ["environment", "env", "stage"]
	name := input.signal.labels[label]
]

# "non-prod" and "pre-prod" hold the word for production and are none.
environment_of(name) := "development" if {
	has_word(name, {
		"non", "nonprod", "nonproduction", "dev", "develop", "development", "test", "testing", "sandbox", "demo",
	})
} else := "staging" if {
	has_word(name, {
		"pre", "preprod", "preproduction", "staging", "stage", "stg", "uat", "qa", "acceptance",
	})
} else := "production" if {
	has_word(name, {"prod", "production", "prd", "live"})
}

has_word(name, known) if {
	some word in regex.split(`[^a-z0-9]`, lower(name))
	word in known
}

# What the pods show, the most specific first; without that, the name of the alert.
default signal_type := "Other"

signal_type := "ImagePull" if {
	some container in containers
	container.reason in {
		"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
	}
} else := "OutOfMemory" if {
	some container in containers
	not container.ready
	container.lastTermination.reason == "OOMKilled"
} else := "CrashLoop" if {
	some container in containers
	crashes(container)
} else := "OutOfMemory" if {
	some container in containers
	container.lastTermination.reason == "OOMKilled"
} else := "NotReady" if {
	input.evidence.workload.readyReplicas < input.evidence.workload.replicas
} else := "OutOfMemory" if {
	named({"oom", "outofmemory", "memorykill"})
} else := "ImagePull" if {
	named({"imagepull", "errimage", "pullbackoff"})
} else := "CrashLoop" if {
	named({"crash", "restart", "backoff"})
} else := "NotReady" if {
	named({"notready", "unavailable", "mismatch", "rollout", "notavailable", "down"})
}

containers := [container |
	some pod in input.evidence.pods
	some container in pod.containers
]

crashes(container) if container.reason == "CrashLoopBackOff"

crashes(container) if {
	not container.init
	container.restarts > 0
	container.lastTermination.exitCode != 0
	not container.lastTermination.reason == "OOMKilled"
}

named(parts) if {
	name := regex.replace(lower(input.signal.name), `[^a-z0-9]`, "")
	some part in parts
	contains(name, part)
}
