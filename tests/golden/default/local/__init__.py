"""The laptop stand-in for the workspaces: runs the jobs of the bundle with Sail (Spark) and MLflow. Never deployed."""
