"""The door for agents: tools that look into a library, spoken by the Model Context Protocol."""
