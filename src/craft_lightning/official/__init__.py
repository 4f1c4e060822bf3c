"""The official CARLA evaluators (Leaderboard 2.x, Bench2Drive), unmodified: our agent, our server, their verdicts."""
