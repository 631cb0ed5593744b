"""Ray: one deployment an engine, and the settings of Ray and HAProxy."""
